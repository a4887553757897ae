"""Data sets that are lists of URLs, and archives a user has: downloaded, checked, written as parquet.

One URL at a time goes through `fetching`, many through `running`; what arrives is kept in a `journal`, so
that a second call goes on where the first stopped; `writing` makes the parquet file.

The connections are httpcore2's (it comes with httpx2, which huggingface_hub brings), because it lets its user
open the sockets: a host is resolved and checked, and the connection goes to the address that was checked.
img2dataset, the usual tool for this work, has no such check, reads answers of any length into memory, has no
deadline for a whole answer and no pause between attempts; version 1.47 also wants pandas below 3,
albumentations below 2 and wandb.
"""
