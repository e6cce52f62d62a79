-- Groups as they are now: the newest version of each.
SELECT
  api_key AS project,
  group_type,
  group_type_index,
  group_key,
  created_at,
  updated_at,
  version,
  properties,
  team_id
FROM (
  SELECT
    *,
    row_number() OVER (PARTITION BY api_key, group_type, group_key ORDER BY version DESC, _position DESC) AS newest
  FROM hogflare_groups
  WHERE group_key IS NOT NULL
) AS versions
WHERE newest = 1
