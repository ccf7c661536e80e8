-- The role of the web, worker and beat processes: it works on every table, and can only add to the journal.
--
-- Run by the owner of the tables (the role that runs `manage.py migrate`), after each migrate:
--     psql -v ON_ERROR_STOP=1 -f deploy/postgres/roles.sql "$OWNER_DATABASE_URL"
-- then give dematmp_app a password and put it in DEMATMP_DATABASE_URL. May be run again.

DO $$
BEGIN
    CREATE ROLE dematmp_app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
EXCEPTION WHEN duplicate_object THEN NULL;
END
$$;

GRANT USAGE ON SCHEMA public TO dematmp_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO dematmp_app;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO dematmp_app;

-- Which migrations ran is the owner's business.
REVOKE INSERT, UPDATE, DELETE ON django_migrations FROM dematmp_app;

-- Entries are added, never changed nor taken away. Tiles and the head grow, and are never taken away.
REVOKE UPDATE, DELETE, TRUNCATE ON audit_entry, audit_entrytoken, audit_preservationtoken FROM dematmp_app;
REVOKE DELETE, TRUNCATE ON audit_tile, audit_head, audit_publiccheckpoint FROM dematmp_app;
