"""The tasks, one file each; see `edge_glass.tasks.registry.TaskKind` for what a file defines as `KIND`."""
