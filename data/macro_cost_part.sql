-- What so many tokens cost, in USD: exact, as DECIMAL(38, 12). tokens: a count as reported; usd: the price of a million,
-- NULL where there is none. NULL where a price meets a count that nobody told, or a count a price that nobody knows; of
-- what has neither (the output of an embedding) nothing is due.
-- DECIMAL(19, 0), because DuckDB holds a product of two decimals of up to 18 digits in 18. Inner macro of `call_costs`.
CREATE OR REPLACE MACRO cost_part(tokens, usd) AS
CASE
    WHEN tokens = 0 OR usd = 0 OR (tokens IS NULL AND usd IS NULL) THEN CAST(0 AS DECIMAL(38, 12))
    ELSE CAST(tokens AS DECIMAL(19, 0)) * CAST(usd AS DECIMAL(14, 6)) * CAST(0.000001 AS DECIMAL(7, 6))
END;
