-- The rows of an event, as they are stored.
SELECT
  event,
  distinct_id,
  api_key AS project,
  "timestamp",
  created_at AS received_at,
  person_id AS stamped_person_id,
  person_mode,
  _writer AS log_writer,
  _position AS log_position
FROM hogflare_events
WHERE uuid = $1
