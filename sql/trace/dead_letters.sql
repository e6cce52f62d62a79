-- Why an event, or a part of what it asked for, was not stored as sent.
SELECT
  reason,
  detail,
  event,
  distinct_id,
  api_key AS project,
  received_at,
  path,
  item,
  _writer AS log_writer,
  _position AS log_position
FROM hogflare_dead_letter
WHERE event_uuid = $1 OR uuid = $1
