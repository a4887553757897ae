"""Poolings, one file each: `pooling_type` in an experiment file is the name of a file of this package.

Such a file defines one function, `build(width, options)`, that returns a `Pooling` (`encoders/pooling.py`)
for tokens of `width` numbers; `options` are the `PoolingOptions` of the experiment.

Example:
    >>> # edge_glass/encoders/poolings/last.py
    >>> class LastPooling(Pooling):
    ...     def forward(self, tokens, mask):
    ...         return clean(tokens, mask)[:, -1]
    >>> def build(width, options):
    ...     return LastPooling()
"""
