"""What a worker computes on, and in which precision."""

from __future__ import annotations

import ctypes

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
GREATEST = 1 << 30


def device_of_worker() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def computes_in_bf16(precision: str, device: torch.device) -> bool:
    """Whether products run in bfloat16: ``auto`` says yes where the hardware multiplies it natively."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def name_of_device(device: torch.device) -> str:
    return (
        torch.cuda.get_device_name(device) if device.type == "cuda" else str(torch.cpu.get_capabilities()["cpu_name"])
    )


def keep_memory() -> None:
    """Let the process keep the memory of tensors that are gone for those to come, where the C library is glibc.

    A step's are larger than what glibc asks the kernel for one by one and gives back at once: two thousand pages a step
    are then cleared anew, up to a tenth of the time on a CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # Older ones refuse the first, and would no longer adapt it after the second.
    if mallopt is not None and mallopt(M_MMAP_THRESHOLD, GREATEST):
        mallopt(M_TRIM_THRESHOLD, GREATEST)
