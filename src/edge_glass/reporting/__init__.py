"""Pictures and pages made from a run folder; reads files only, never a model."""
