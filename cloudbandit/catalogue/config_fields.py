"""The fields of a Hugging Face ``config.json``, read with a check: what is missing or impossible is named.

What a published config leaves out, because its family's class has it as a default, is in `cloudbandit.catalogue.families`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cloudbandit.catalogue import families
from cloudbandit.core.errors import DataError

_FLAT = ("attn_config", "ffn_config")  # nested parts of MPT and DBRX
_PLAIN = ("gelu", "relu", "quick_gelu", "xielu")
_LARGEST = 10_000_000
"""Of any size in a config; vocabularies are the largest, of some 300,000."""


class Fields:
    """The fields of a config, the inner ``text_config`` and the family's defaults merged.

    Args:
        config: its fields.
        name: the model's, for messages.
        given: fields that win over the config's.
    """

    def __init__(self, config: Mapping[str, Any], name: str, given: Mapping[str, Any] | None = None) -> None:
        texts = (config.get(k) for k in ("text_config", "llm_config"))
        inner: Mapping[str, Any] = next((t for t in texts if isinstance(t, Mapping)), {})
        merged = {**config, **inner}
        for key in _FLAT:
            if isinstance(merged.get(key), Mapping):
                merged = {**merged[key], **merged, "model_type": merged.get("model_type")}
        self.family = str(merged.get("model_type") or "")
        defaults = {
            **families.DEFAULTS.get(str(config.get("model_type") or ""), {}),
            **families.DEFAULTS.get(self.family, {}),
        }
        self.outer = str(config.get("model_type") or "")
        self.name = name
        self.notes: list[str] = []
        self._c = {**defaults, **{k: v for k, v in merged.items() if v is not None}, **(given or {})}

    def get(self, *keys: str) -> Any:
        """The first that is there and says something (not None, not empty, not False, not 0)."""
        return next((self._c[k] for k in keys if self._c.get(k)), None)

    def known(self, key: str) -> bool:
        return key in self._c

    def wrong(self, key: str, value: object, allowed: str) -> DataError:
        return DataError(f"the config of {self.name!r} has {key} = {value!r}; {allowed}. Cure: correct the file")

    def beyond(self, key: str, what: str) -> DataError:
        return DataError(
            f"the config of {self.name!r} has {key} = {str(self._c.get(key))[:60]}: {what} is not understood. "
            "Cure: describe the model by ModelSpec(…) with its published parameters"
        )

    def whole(self, *keys: str) -> int:
        """A whole number > 0, or 0 where none of the keys is set.

        Raises:
            DataError: it is something else; the message names the field.
        """
        for key in keys:
            value = self._c.get(key)
            if isinstance(value, list) and value and all(v == value[0] for v in value):
                value = value[0]  # one entry a layer, all alike
            if value is None or value is False or value == 0 or value == []:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise self.wrong(key, value, "it must be a whole number > 0")
            if not 0 < value <= _LARGEST or value != int(value):
                raise self.wrong(key, value, f"it must be a whole number > 0 (and at most {_LARGEST:,})")
            return int(value)
        return 0

    def needed(self, what: str, *keys: str) -> int:
        """As `whole`, and it must be there.

        Raises:
            DataError: none of the keys is set; the message names them.
        """
        for key in keys:
            if self._c.get(key) is not None:
                value = self.whole(key)
                if not value:
                    raise self.wrong(key, self._c[key], "it must be a whole number > 0")
                return value
        raise self.lacks({what: keys})

    def lacks(self, missing: Mapping[str, tuple[str, ...]]) -> DataError:
        listed = "; ".join(f"{what} ({' or '.join(keys)})" for what, keys in missing.items())
        return DataError(
            f"the config of {self.name!r} lacks {listed}; it has {', '.join(sorted(map(str, self._c))) or 'no fields'}. "
            "Cure: add the field to the file"
        )

    def require(self, wanted: Mapping[str, tuple[str, ...]]) -> None:
        """Every one of several numbers is there.

        Raises:
            DataError: some are not; the message names all of them.
        """
        missing = {what: keys for what, keys in wanted.items() if all(self._c.get(k) is None for k in keys)}
        if missing:
            raise self.lacks(missing)

    def numbers(self, key: str) -> list[int]:
        """A list of whole numbers; empty where there is none."""
        value = self._c.get(key) or []
        if not isinstance(value, list | tuple) or not all(isinstance(v, int) for v in value):
            raise self.wrong(key, value, "it must be a list of whole numbers")
        return [int(v) for v in value]

    def factor(self, key: str, default: float) -> float:
        """A number > 0 and ≤ 1000, or the default where it is not set."""
        value = self._c.get(key) or default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1000:
            raise self.wrong(key, value, "it must be a number > 0")
        return float(value)

    def words(self, key: str) -> list[str]:
        """A list of words; empty where there is none."""
        value = self._c.get(key) or []
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            raise self.wrong(key, value, "it must be a list of words")
        return list(value)

    def nested(self, key: str) -> Fields | None:
        """The fields of a group of its own, e.g. ``linear_attn_config``; None where there is none."""
        value = self._c.get(key)
        return Fields(value, f"{self.name} ({key})") if isinstance(value, Mapping) and value else None

    def gated(self) -> bool:
        """Whether the feed-forward network has a gate (three matrices, not two): said by its activation.

        Raises:
            DataError: the activation is missing, or not known to be either.
        """
        keys = (
            "feed_forward_proj",
            "mlp_hidden_act",
            "hidden_act",
            "hidden_activation",
            "activation_function",
            "ffn_act_fn",
        )
        value = self.get(*keys)
        key = next((k for k in keys if self.get(k)), "hidden_act")
        word = str(value.get("name") if isinstance(value, Mapping) else value or "").lower()
        if not word:
            word = "silu" if self.family.startswith(families.SILU) else "gelu"
            if not self.family.startswith((*families.SILU, *families.PLAIN, *families.GATED)):
                raise self.lacks({"the activation": ("hidden_act", "activation_function")})
        if self.family.startswith(families.GATED) or word.startswith(("gated", "silu", "swish")) or "glu" in word:
            return True
        if word.startswith(_PLAIN):
            return False
        raise self.beyond(key, "that activation")

    def tied(self) -> bool:
        """Whether the output matrix is the embedding; where neither the config nor its family says so: no."""
        default = self.family.startswith(families.TIED) and not self.family.startswith(families.UNTIED)
        return bool(self._c.get("tie_word_embeddings", default))
