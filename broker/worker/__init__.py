"""Effects from the outbox: in this process by default, by Celery and Redis in production."""
