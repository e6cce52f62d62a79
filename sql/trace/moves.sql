-- How a distinct id came to its person, the newest move first.
SELECT distinct_id, person_id, old_person_id, version, created_at AS moved_at, source_event_uuid
FROM hogflare_person_overrides
WHERE api_key = $1 AND distinct_id = $2
ORDER BY version DESC, _position DESC
LIMIT 10
