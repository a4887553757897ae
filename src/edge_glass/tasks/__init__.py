"""The tasks, and what runs them: the only place where models, data, evaluation and training meet."""
