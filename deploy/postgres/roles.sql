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

-- What they grow by comes after what was there: a published checkpoint is only cosigned, and its token is set once.
-- Nobody's own operators decide what « the same » is.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
CREATE OR REPLACE FUNCTION audit_only_grows() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    kept boolean;
BEGIN
    IF TG_TABLE_NAME = 'audit_tile' THEN
        kept := (NEW.id, NEW.level, NEW.index) = (OLD.id, OLD.level, OLD.index)
            AND substring(NEW.hashes FROM 1 FOR length(OLD.hashes)) = OLD.hashes;
    ELSIF TG_TABLE_NAME = 'audit_publiccheckpoint' THEN
        kept := (NEW.id, NEW.size, NEW.published_at) = (OLD.id, OLD.size, OLD.published_at)
            AND left(NEW.note, length(OLD.note)) = OLD.note
            AND (OLD.token IS NULL OR (NEW.token_request, NEW.token, NEW.token_authority, NEW.token_at)
                 IS NOT DISTINCT FROM (OLD.token_request, OLD.token, OLD.token_authority, OLD.token_at));
    ELSE
        kept := NEW.id = OLD.id AND NEW.size >= OLD.size AND NEW.published_size >= OLD.published_size;
    END IF;
    IF kept IS NOT TRUE THEN
        RAISE EXCEPTION 'the journal is only added to: %', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
CREATE OR REPLACE TRIGGER audit_only_grows BEFORE UPDATE ON audit_tile
    FOR EACH ROW EXECUTE FUNCTION audit_only_grows();
CREATE OR REPLACE TRIGGER audit_only_grows BEFORE UPDATE ON audit_publiccheckpoint
    FOR EACH ROW EXECUTE FUNCTION audit_only_grows();
CREATE OR REPLACE TRIGGER audit_only_grows BEFORE UPDATE ON audit_head
    FOR EACH ROW EXECUTE FUNCTION audit_only_grows();
