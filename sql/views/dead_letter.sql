-- What could not be stored as sent, and why.
SELECT
  uuid,
  received_at,
  api_key,
  path,
  reason,
  detail,
  event,
  distinct_id,
  event_uuid,
  item,
  lib,
  raw,
  raw_length,
  source_table,
  source_writer,
  source_position,
  _writer,
  _position
FROM hogflare_dead_letter
