"""What a network is apart from its weights: its structure, code and settings, as one text."""

import dataclasses
import inspect
import re
from collections.abc import Iterable
from enum import Enum
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import nn

from itprobe.files import sha256_values

# Parameters, buffers and modules are digested elsewhere; hooks and the mode change no evaluation.
_INTERNALS = frozenset(vars(nn.Module()))
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...), range, slice)
_SHOWN = (torch.dtype, torch.device, torch.memory_format)
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def architecture_of(module: nn.Module) -> str:
    """Text that changes when the printed structure, the code of a class, or a setting does.

    Settings are the attributes of a module and of its class that hold numbers, texts, tensors, arrays
    and functions, or collections and dataclasses of them; of other objects only the type counts. The
    same network gives the same text in another process, and in training and evaluation mode.
    """
    parts = list(module.named_modules())
    classes = {
        kind
        for _, part in parts
        for kind in type(part).__mro__
        if issubclass(kind, nn.Module) and kind is not nn.Module
    }
    codes = sorted(f"{kind.__qualname__}{_class_text(kind)}" for kind in classes)
    settings = [f"{name}{_settings(vars(part))}" for name, part in parts]
    return f"{_ADDRESS.sub('', repr(module))}{codes}{settings}"


def _settings(attributes: Any) -> str:
    return _ordered(
        f"{name}={_text(value)}" for name, value in attributes.items() if str(name) not in _INTERNALS
    )


def _class_text(kind: type) -> str:
    return _settings({name: value for name, value in vars(kind).items() if not name.startswith("__")})


def _text(value: Any) -> str:
    if type(value) in _PLAIN or isinstance(value, _SHOWN):
        return repr(value)
    if isinstance(value, Enum):
        return f"{type(value).__qualname__}.{value.name}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}[{','.join(map(_text, value))}]"
    if isinstance(value, set | frozenset):
        return f"set{_ordered(map(_text, value))}"
    if isinstance(value, dict):
        return f"dict{_ordered(f'{_text(key)}:{_text(item)}' for key, item in value.items())}"
    return _object_text(value)


def _object_text(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        return f"{value.dtype}{tuple(value.shape)}{sha256_values(raw.numpy())}"
    if isinstance(value, np.ndarray | np.generic):
        return sha256_values(np.asarray(value))
    if isinstance(value, FunctionType | CodeType):
        return _function_text(value) if isinstance(value, FunctionType) else _code_text(value)
    if isinstance(value, staticmethod | classmethod | MethodType):
        return _text(value.__func__)
    if isinstance(value, property):
        return _text(value.fget)
    if isinstance(value, partial):
        return f"partial{_text([value.func, value.args, value.keywords])}"
    kind = type(value).__qualname__
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return kind + _settings(vars(value))
    return f"{kind} {getattr(value, '__qualname__', '')}"


def _function_text(function: FunctionType) -> str:
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    # A function may hold itself: of functions in a closure the names are enough.
    held = [getattr(cell, "__qualname__", None) or _text(cell) for cell in cells]
    defaults = [function.__defaults__, function.__kwdefaults__]
    text = f"{function.__qualname__}{_code_text(function.__code__)}{_text(defaults)}{held}"
    wrapped = inspect.unwrap(function)
    return text if wrapped is function else f"{text}{_text(wrapped)}"


def _code_text(code: CodeType) -> str:
    return f"{code.co_code.hex()}{code.co_names}{code.co_varnames}{_text(code.co_consts)}"


def _ordered(texts: Iterable[str]) -> str:
    """Sorted, because the order of sets differs between processes."""
    return f"{{{','.join(sorted(texts))}}}"
