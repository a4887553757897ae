"""Families of vision-language models, one file each, which defines `FAMILY`; see `edge_glass.vlm.family`."""
