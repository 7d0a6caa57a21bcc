-- The models that calls of this ledger name, the response's or else the request's. One row = one name.
-- Read by what looks up their prices.
SELECT coalesce(response_model, request_model) AS model
FROM calls
WHERE operation = 'create' AND coalesce(response_model, request_model) IS NOT NULL
GROUP BY coalesce(response_model, request_model)
ORDER BY model;
