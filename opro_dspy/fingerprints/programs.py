"""Who a program is: its modules' code and state, signatures and demos; and who an example is."""

from typing import Any

import dspy

from opro_dspy.fingerprints.hashing import Describe, by_name

_RUNTIME = frozenset({"callbacks", "history", "_compiled"})
"""What a module holds that has no part in its answers."""

_PREDICT = frozenset({"signature", "demos", "stage", "traces", "train", "metadata"})
"""The same of predictors; their signature and demos are told apart."""

_RETRYING = (dspy.Refine, dspy.BestOfN)
"""They count their failures down in `fail_count`."""


def module_parts(module: dspy.Module, describe: Describe, *, text: bool = True) -> Any:
    """Return class and state of a module; `text` tells whether its instructions count."""
    told = {"~module": describe(type(module))}
    left_out = _RUNTIME
    if isinstance(module, dspy.Predict):
        left_out = _RUNTIME | _PREDICT
        told["signature"] = signature_parts(module.signature, describe, text=text)
        told["demos"] = [by_name(dict(demo.items()), describe) for demo in module.demos]
    if isinstance(module, _RETRYING):
        left_out = _RUNTIME | {"fail_count"}
    held = {name: value for name, value in vars(module).items() if name not in left_out}
    return {**told, "state": by_name(held, describe)}


def signature_parts(signature: Any, describe: Describe, *, text: bool = True) -> Any:
    """Return instructions and fields of a signature; `text` tells whether the former count."""
    fields = [
        {
            "name": name,
            "type": describe(field.annotation),
            "default": describe(field.default),
            "constraints": describe(field.metadata),
            "extra": describe(field.json_schema_extra),
        }
        for name, field in signature.model_fields.items()
    ]
    return {"~signature": signature.instructions if text else None, "fields": fields}


def example_parts(example: dspy.Example, describe: Describe) -> Any:
    """Return inputs and labels of an example, DSPy's notes (`dspy_uuid`, ...) apart."""
    keys = getattr(example, "_input_keys", None)
    inputs = None if keys is None else sorted(map(str, keys))
    return {"~example": by_name(dict(example.items()), describe), "inputs": inputs}
