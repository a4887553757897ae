"""Pictures, sounds and words → token features, pooled and projected."""
