# Times: parsed, never compared as text, so that what is no time clears nothing.
package sulku.lib.moment

# Nanoseconds since 1970; undefined for what is not a text.
ns(text) := time.parse_rfc3339_ns(text) if is_string(text)

before(earlier, later) if ns(earlier) < ns(later)

# True when `from` is not in the future (a minute of skew between machines is allowed) and at most `hours` ago.
within_hours(from, hours) if {
	age := ns(input.context.now) - ns(from)
	age >= -60000000000
	age <= hours * 3600000000000
}
