"""A ZeroGPU machine without its GPU, for processes that have this folder on their path (tests/app/zero_api.py).

The real `spaces` runs all of its own code: its emulation of CUDA, the packing of weights at the launch, its bookings,
worker processes and queues. What stands in is the card itself. Where `spaces` would hand a worker over to CUDA, the
emulation stays, and computes on the CPU what it calls CUDA: the packed weights are read back from the disk by it, and
tensors of two devices meet in an error as they do on a card. A build of torch without CUDA is told a version of it.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from typing import Any


def _enter_emulation(patching: Any) -> None:
    """Its modes hold for one thread; a card holds for all of them. Like a card, it takes numbers from the CPU."""
    import torch
    from torch.utils._pytree import tree_leaves, tree_map_only

    aliases, run = patching.cuda_aliases, threading.Thread.run

    class Card(patching.ZeroGPUFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            given = (args, kwargs or {})
            if any(isinstance(one, torch.Tensor) and one in aliases for one in tree_leaves(given)):
                args, kwargs = tree_map_only(torch.Tensor, taken, given)
            return super().__torch_function__(func, types, args, kwargs)

    def taken(tensor: Any) -> Any:
        if tensor.dim() or tensor in aliases:
            return tensor
        fake = patching.empty_fake(tensor)
        aliases[fake] = tensor
        return fake

    patching.function_mode = Card()

    def emulated(self: threading.Thread) -> None:
        patching.enter_mode()
        run(self)

    threading.Thread.run = emulated


def _unpacked(patching: Any) -> None:
    """What `spaces` packed at the launch, read from its file to where it calls CUDA."""
    import torch

    for pack in patching.tensor_packs:
        with open(pack.path(), "rb") as file:
            for tensor, size, aligned in [one for batch in pack.batches for one in batch] + pack.big_tensors:
                data = bytearray(file.read(aligned)[:size])
                if not data:
                    continue
                flat = torch.frombuffer(data, dtype=torch.uint8).untyped_storage()
                original = torch.tensor([], dtype=tensor.dtype).set_(flat, 0, tensor.shape, tensor.stride())
                for fake in pack.fakes[tensor]:
                    patching.cuda_aliases[fake] = original


def _in_worker() -> None:
    zero: Any = sys.modules.get("spaces.zero.torch")
    patching: Any = sys.modules.get("spaces.zero.torch.patching")
    if zero is None or patching is None or not hasattr(zero, "move"):
        return  # `spaces` itself is still being imported
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    _enter_emulation(patching)
    zero.unpatch = lambda: None
    zero.init = lambda nvidia_uuid: os.environ.update(CUDA_VISIBLE_DEVICES=nvidia_uuid)
    zero.move = lambda callback=None: _unpacked(patching)
    signal.signal(signal.SIGUSR1, _tell_who_is_known)


def _end_with(parent: int) -> None:
    """A test that is cut off leaves no worker behind."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _tell_who_is_known(*_: object) -> None:
    """Which persons this process holds, as sums of their vectors, to a file that the test reads."""
    gc.collect()
    people = [thing for thing in gc.get_objects() if type(thing).__name__ == "IdentityEmbedding"]
    text = "\n".join(sorted({f"{float(person.vector.sum()):.5f}" for person in people}))
    path = os.path.join(os.environ["KNOWN"], str(os.getpid()))
    with open(path + ".part", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".part", path)


def _in_bad_fork() -> bool:
    """`spaces` sends it to another process, which a build without CUDA defines as something that cannot be sent."""
    return False


def _pretend_cuda() -> None:
    import torch

    if torch.version.cuda is None:
        torch.version.cuda = "13.0"
        torch._C._cuda_init = lambda: None
        torch.cuda._is_in_bad_fork = _in_bad_fork


if os.environ.get("SPACES_ZERO_GPU") == "true":
    _pretend_cuda()
    os.register_at_fork(after_in_child=_in_worker)
