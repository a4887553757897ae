"""Pinned weights and data by name: fetch, verify, cache. Imports no torch."""

from edge_glass.assets.registry import ASSETS, Asset, Member
from edge_glass.assets.store import (
    AssetRow,
    cache_root,
    fetch,
    is_fetched,
    list_assets,
    path,
    resolve,
    verify,
)

__all__ = [
    "ASSETS",
    "Asset",
    "AssetRow",
    "Member",
    "cache_root",
    "fetch",
    "is_fetched",
    "list_assets",
    "path",
    "resolve",
    "verify",
]
