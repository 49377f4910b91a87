# Make a database the first time, and serve it. The password is the one of the secret, also after that has changed.
set -eu
data=/var/lib/postgresql/15
if [ ! -e "$data/PG_VERSION" ]; then
  rm -rf "$data" "$data.new"
  initdb -D "$data.new" -U postgres --auth-local=trust --auth-host=scram-sha-256 -E UTF8 --locale=C.UTF-8 >/dev/null
  printf 'CREATE ROLE sulku LOGIN;\nCREATE DATABASE sulku OWNER sulku;\n' | postgres --single -D "$data.new" postgres >/dev/null
  cat > "$data.new/pg_hba.conf" <<END
local all   all       trust
host  sulku sulku all scram-sha-256
END
  mv "$data.new" "$data"
fi
password=$(sed "s/'/''/g" /run/sulku/database/password)
printf "ALTER ROLE sulku PASSWORD '%s';\n" "$password" | postgres --single -D "$data" postgres >/dev/null
exec postgres -D "$data" -c listen_addresses='*' -c unix_socket_directories=/run/postgres \
  -c max_connections=300 -c log_min_messages=warning -c password_encryption=scram-sha-256
