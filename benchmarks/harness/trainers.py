"""What every trainer of TRL is told, in whichever environment it runs."""

PLAIN = {
    "bf16": False,
    "gradient_checkpointing": False,
    "use_cpu": True,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
}
"""Float32 on the CPU, every activation kept, nothing written or shown."""
