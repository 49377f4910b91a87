-- The broker's role on PostgreSQL: it adds to the ledger and can neither change nor remove what is there.
-- Run by the owner of the schema after each migration: psql -v role=sulku_broker -f postgres_roles.sql
-- The triggers refuse the same, whoever asks; this holds even for somebody who could drop a trigger as the owner, not as the broker.
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM :"role";
GRANT USAGE ON SCHEMA public TO :"role";
GRANT SELECT ON ALL TABLES IN SCHEMA public TO :"role";
GRANT INSERT, UPDATE ON people, datasets, applications, permits, tunnels, mounts, outputs, releases TO :"role";
GRANT INSERT, UPDATE ON tickets, outbox, notices TO :"role";
GRANT INSERT, DELETE ON named, sessions_ended TO :"role";
GRANT INSERT, UPDATE, DELETE ON reported, places TO :"role";
GRANT INSERT ON keys, ledger_entries, ledger_private, decisions, checkpoints TO :"role";
GRANT DELETE ON ledger_private, decisions TO :"role"; -- a lawful erasure; verification finds one that no entry accounts for
GRANT UPDATE ON ledger_head TO :"role";
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO :"role";
