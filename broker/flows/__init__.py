"""One function an intent: ask policy, decide, record. ``act`` and ``see`` are the only two shapes."""
