-- Groups as they are now: the newest version of each.
SELECT
  g.api_key AS project,
  g.group_type,
  g.group_type_index,
  g.group_key,
  g.created_at,
  g.updated_at,
  g.version,
  g.properties,
  g.team_id
-- Which row it is comes from narrow columns, so that a long history is never held.
FROM (
  SELECT api_key, group_type, group_key, substr(max(cast(1000000000000 + version AS varchar) || uuid), 14) AS uuid
  FROM hogflare_groups
  WHERE group_key IS NOT NULL
  GROUP BY api_key, group_type, group_key
) AS newest
INNER JOIN hogflare_groups AS g
  ON newest.api_key = g.api_key
    AND newest.group_type = g.group_type
    AND newest.group_key = g.group_key
    AND newest.uuid = g.uuid
