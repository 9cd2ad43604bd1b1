"""How much memory the cache of texts takes on each GPU, by the kinds of a model's layers.

For each token a layer with full attention keeps `heads x (key + value)` numbers; tensor ranks share the heads, and
where there are more ranks than heads each keeps one. A latent cache (MLA) is kept whole by every rank. A sliding layer
keeps no more than its window and the tokens of one step. A state does not grow. (vLLM: `kv_cache_interface.py`;
llama.cpp: `llama-kv-cache.cpp`, `llama-kv-cache-iswa.cpp`, `llama-memory-recurrent.cpp`.)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from vllm_studio_tui.backends.common.memory_rules import MemoryRules
from vllm_studio_tui.domain.architecture import Architecture, CacheGroup, CacheKind


@dataclass(frozen=True, slots=True)
class CacheSize:
    """Computes the cache of one model on one engine.

    Attributes:
        number: Bytes of one number.
        tensor, pipeline: Ranks that share heads, and ranks that share layers.
        step: Tokens of one step.
    """

    shape: Architecture
    rules: MemoryRules
    number: float
    tensor: int = 1
    pipeline: int = 1
    step: int = 0

    @property
    def per_token(self) -> int:
        """Return the bytes of a token that every layer keeps, over all layers and before any split over GPUs."""
        kept = sum(one.numbers for one in self.shape.caches if one.kind is not CacheKind.STATE)
        return round(kept * self.number)

    def bytes(self, context: int, users: float) -> int:
        """Return the bytes of the fullest rank for so many texts of this length."""
        return ceil(sum(self._group(one, context, users) for one in self.shape.caches))

    def _group(self, group: CacheGroup, context: int, users: float) -> float:
        layers = self._layers(group.layers)
        if group.kind is CacheKind.STATE:
            return layers * group.state * users / self.tensor
        tokens = self._tokens(group, context, users)
        if group.kind is CacheKind.LATENT:
            return layers * group.key * self.number * tokens
        heads = max(1, ceil(group.heads / self.tensor))
        return layers * heads * (group.key + group.value) * self.number * tokens

    def _tokens(self, group: CacheGroup, context: int, users: float) -> float:
        block = self.rules.block
        whole = ceil(context / block) * block * users
        if group.kind is not CacheKind.SLIDING or group.window is None:
            return whole
        extra = self.step if self.rules.window_extra else 0
        return min(whole, (ceil((group.window + extra) / block) + self.rules.window_blocks) * block * users)

    def _layers(self, layers: int) -> int:
        """Return how many layers the fullest rank has."""
        return ceil(layers / self.pipeline)
