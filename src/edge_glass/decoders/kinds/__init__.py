"""Decoders: one file each, whose name is what `decoder.kind` says in the experiment file.

A module defines `KIND`, a `DecoderKind` (`edge_glass.decoders.decoder`).
"""
