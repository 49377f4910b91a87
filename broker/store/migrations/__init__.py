"""Steps of the schema, one file a version; run by ``broker.store.migrate``."""
