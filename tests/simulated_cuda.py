"""A CUDA device that is none: mixing what is on it with what is not raises, as on a GPU.

What is "on" it are tensors of the CPU whose storage is on a list. Whatever torch is asked for passes here first: where
devices may not be mixed, an error is raised; what is computed from tensors on it is on it. It says nothing of kernels,
of memory and of speed, and little of 16-bit numbers: autocast is the CPU's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
import torch.utils.checkpoint
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_iter

CUDA, CPU = torch.device("cuda:0"), torch.device("cpu")

MAY_MIX = frozenset(
    {
        "copy_",
        "__set__",
        "tensor",
        "as_tensor",
        "type_as",
        "new_tensor",
        "set_",
        "expand_as",
        "view_as",
        "reshape_as",
        "_has_compatible_shallow_copy_type",
    }
)
"""What CUDA allows between devices."""

TAKES_NO_SCALARS = frozenset(
    {
        "cat",
        "stack",
        "concat",
        "index_select",
        "gather",
        "matmul",
        "__matmul__",
        "mm",
        "bmm",
        "linear",
        "einsum",
    }
)
"""What does not take a CPU's tensor without dimensions for a number."""

SAYS_NOTHING_OF_DEVICES = frozenset(
    {
        "storage",
        "untyped_storage",
        "size",
        "dim",
        "stride",
        "__len__",
        "is_floating_point",
        "element_size",
        "numel",
    }
)

MOST_STORAGES = 1000
"""Known storages at which those that are gone are forgotten: a weak reference keeps their memory."""

ANSWERS: dict[str, Any] = {
    "is_available": True,
    "device_count": 1,
    "current_device": 0,
    "set_device": None,
    "synchronize": None,
    "empty_cache": None,
    "max_memory_allocated": 2**30,
    "memory_allocated": 2**30,
    "reset_peak_memory_stats": None,
    "mem_get_info": (60 * 2**30, 80 * 2**30),
    "is_bf16_supported": True,
    "get_device_name": "simulated",
    "get_device_capability": (9, 0),
    "get_rng_state": torch.zeros(0, dtype=torch.uint8),
    "manual_seed_all": None,
    "is_current_stream_capturing": False,
}
"""What `torch.cuda` says of itself."""


class SimulatedGenerator(torch.Generator):
    """Random numbers for one device; they are the CPU's."""

    def __new__(cls, device: torch.device | str = "cpu") -> SimulatedGenerator:
        generator = super().__new__(cls, device="cpu")
        generator.of_device = torch.device(device)
        return generator

    of_device: torch.device

    @property
    def device(self) -> torch.device:
        """Where it may be used."""
        return self.of_device


class SimulatedCuda(TorchFunctionMode):
    """Knows which tensors are on the device."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[int, StorageWeakRef] = {}
        self._most = MOST_STORAGES
        self._backwards = 0

    def holds(self, tensor: Tensor) -> bool:
        """Whether a tensor is on the device; during a backward pass all are, since autograd's own are on no list."""
        return self._backwards > 0 or tensor.untyped_storage()._cdata in self._known

    def device_of(self, tensor: Tensor) -> torch.device:
        """Where a tensor is."""
        return CUDA if self.holds(tensor) else CPU

    def take(self, tensor: Tensor) -> Tensor:
        """Declares a tensor to be on the device."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known:
            if len(self._known) > self._most:
                self._known = {key: known for key, known in self._known.items() if not known.expired()}
                self._most = MOST_STORAGES + len(self._known)
            self._known[storage._cdata] = StorageWeakRef(storage)
        return tensor

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Checks devices, computes, and says where the result is."""
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", str(func))
        first = args[0] if args and isinstance(args[0], Tensor) else None
        if name in SAYS_NOTHING_OF_DEVICES:
            return func(*args, **kwargs)
        if first is not None:
            if name == "__get__":
                return self._attribute(func, first)
            if name == "backward":
                return self._backward(*args, **kwargs)
            if func in (Tensor.to, Tensor.cpu, Tensor.cuda):
                return self._to(func, first, list(args[1:]), kwargs)
            if func is Tensor.pin_memory:
                return first
            if func in (Tensor.numpy, Tensor.__array__, Tensor.data_ptr) and self.holds(first):
                raise TypeError(f"can't convert {CUDA} device type tensor to numpy. Use Tensor.cpu() first.")
        return self._computed(func, name, args, kwargs)

    def _computed(self, func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        given = [one for one in tree_iter((args, kwargs)) if isinstance(one, Tensor)]
        asked = kwargs.get("device")
        if asked is not None:
            kwargs["device"] = CPU
        self._check(name, args, given)
        if asked is not None:
            on_device = torch.device(asked).type == "cuda"
        else:
            on_device = func is not torch.tensor and any(self.holds(one) for one in given)
        _check_generator(name, kwargs.get("generator"), on_device)
        storages = {one.untyped_storage()._cdata for one in given}
        result = func(*args, **kwargs)
        if name == "type_as":
            return self._moved(result.clone(), self.device_of(args[1]))
        if on_device:
            for one in tree_iter(result):
                if isinstance(one, Tensor) and one.untyped_storage()._cdata not in storages:
                    self.take(one)
        return result

    def _attribute(self, func: Any, tensor: Tensor) -> Any:
        attribute = getattr(func, "__self__", None)
        if attribute is Tensor.device:
            return self.device_of(tensor)
        if attribute is Tensor.is_cuda:
            return self.holds(tensor)
        if attribute is Tensor.is_cpu:
            return not self.holds(tensor)
        value = func(tensor)
        if attribute is Tensor.grad and value is not None and self.holds(tensor):
            self.take(value)
        return value

    def _backward(self, loss: Tensor, gradient: Tensor | None = None, **options: Any) -> None:
        """Backward passes written in Python, and what checkpoints compute again, see this device too."""
        gradient = torch.ones_like(loss) if gradient is None else gradient
        self._backwards += 1
        try:
            with self:
                torch.autograd.graph._engine_run_backward(
                    (loss,), (gradient,), False, False, tuple(options.get("inputs") or ()), True, accumulate_grad=True
                )
        finally:
            self._backwards -= 1

    def _to(self, func: Any, tensor: Tensor, rest: list[Any], kwargs: dict[str, Any]) -> Tensor:
        named = [*rest, *kwargs.values()]
        device, dtype = self.device_of(tensor), tensor.dtype
        if func is not Tensor.to:
            device = CPU if func is Tensor.cpu else CUDA
        for one in named:
            if isinstance(one, Tensor):
                device, dtype = self.device_of(one), one.dtype
            elif isinstance(one, torch.dtype):
                dtype = one
            elif isinstance(one, str | torch.device):
                device = torch.device(one)
        layout = next((one for one in named if isinstance(one, torch.memory_format)), torch.preserve_format)
        result = tensor.to(dtype=dtype, memory_format=layout)
        if result is not tensor and self.holds(tensor):
            self.take(result)
        return self._moved(result, device)

    def _moved(self, tensor: Tensor, device: torch.device) -> Tensor:
        """The same values on a device; the tensor itself where it is there."""
        if self.holds(tensor) == (device.type == "cuda"):
            return tensor
        copied = tensor.clone()
        return self.take(copied) if device.type == "cuda" else copied

    def _check(self, name: str, args: Any, given: list[Tensor]) -> None:
        elsewhere = [one for one in given if not self.holds(one)]
        if not elsewhere or len(elsewhere) == len(given) or name in MAY_MIX:
            return
        if name == "__getitem__":
            allowed = self.holds(args[0]) or _numbers(args[1])
        elif name == "__setitem__":
            target, index, value = args
            copies = not any(isinstance(one, Tensor) for one in tree_iter(index))
            fits = not isinstance(value, Tensor) or value.ndim == 0 or self.holds(value) == self.holds(target)
            allowed = (copies or fits) and (self.holds(target) or _numbers(index))
        else:
            allowed = name not in TAKES_NO_SCALARS and all(one.ndim == 0 for one in elsewhere)
        if not allowed:
            shapes = ", ".join(f"{tuple(one.shape)} on {self.device_of(one)}" for one in given)
            raise RuntimeError(f"Expected all tensors to be on the same device: {name} of {shapes}")


def _check_generator(name: str, generator: Any, on_device: bool) -> None:
    """Raises where random numbers for one device are asked of another's generator."""
    if isinstance(generator, SimulatedGenerator) and on_device != (generator.device.type == "cuda"):
        raise RuntimeError(f"{name} expected a generator of the same device, but found {generator.device}")


def _numbers(index: Any) -> bool:
    """Whether tensors in an index have no dimensions, so that they count as numbers."""
    return all(one.ndim == 0 for one in tree_iter(index) if isinstance(one, Tensor))


@contextlib.contextmanager
def simulated_cuda() -> Iterator[SimulatedCuda]:
    """A machine with a GPU, as far as torch can tell."""
    real_init, real_enabled, real_dtype = (
        torch.autocast.__init__,
        torch.is_autocast_enabled,
        torch.get_autocast_dtype,
    )

    def init(self: Any, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: Any = None) -> None:
        if device_type.startswith("cuda"):
            dtype = dtype or torch.float16
        else:  # nothing is computed on the CPU: leave the device's as it is
            dtype, enabled = real_dtype("cpu"), real_enabled("cpu")
        real_init(self, "cpu", dtype=dtype, enabled=enabled, cache_enabled=cache_enabled)

    def of_cpu(question: Any) -> Any:
        return lambda *_: question("cpu")

    with contextlib.ExitStack() as stack:
        for name, answer in ANSWERS.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, lambda *_, answer=answer, **__: answer))
        stack.enter_context(mock.patch.object(torch, "Generator", SimulatedGenerator))
        stack.enter_context(mock.patch.object(torch.autocast, "__init__", init))
        stack.enter_context(mock.patch.object(torch, "is_autocast_enabled", of_cpu(real_enabled)))
        stack.enter_context(mock.patch.object(torch, "get_autocast_dtype", of_cpu(real_dtype)))
        determinism_checks = torch.utils.checkpoint._allowed_determinism_checks_to_fns
        stack.enter_context(mock.patch.dict(determinism_checks, default=lambda tensor: (tensor.shape, tensor.dtype)))
        yield stack.enter_context(SimulatedCuda())
