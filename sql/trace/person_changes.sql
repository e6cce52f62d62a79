-- The persons that an event changed.
SELECT operation, person_id, person_int_id, version, is_identified, is_deleted, merged_into
FROM hogflare_persons
WHERE source_event_uuid = $1
ORDER BY _position
