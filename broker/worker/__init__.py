"""Effects from the outbox: in-process by default, Celery and Redis in production."""
