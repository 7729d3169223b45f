"""Libraries that take less time over the same: imported by conftest.py, and by preloaded.py before it forks.

A test composes a configuration of some thirty files, and there are a thousand such tests: half of the time of a small run is
OmegaConf's.
"""

import copy
import gc
from functools import lru_cache
from typing import Any

import yaml
from omegaconf import _utils, base, grammar_parser

gc.set_threshold(50_000, 20, 50)  # there is little garbage, and to look for it takes a tenth of the time
yaml.SafeLoader = yaml.CSafeLoader  # in C


def _copied(self: base.Metadata, memo: dict[int, Any]) -> base.Metadata:
    """As copy.deepcopy makes it: all but the two dictionaries are types and names, which stay what they are."""
    made = copy.copy(self)
    made.flags, made.resolver_cache = dict(self.flags or {}), copy.deepcopy(self.resolver_cache, memo)
    return made


base.Metadata.__deepcopy__ = _copied
_parse = lru_cache(4096)(grammar_parser.parse)  # interpolations; what it makes is read only
for _module in (base, grammar_parser, _utils):
    _module.parse = _parse
