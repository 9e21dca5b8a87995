"""What a worker computes on, and in which precision."""

from __future__ import annotations

import torch


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
