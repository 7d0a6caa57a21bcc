-- Whether a create is `unbilled`: it was never sent upstream, or refused (408 and 409 may have done work all the same).
-- flags, outcome and status_code are the call's. Inner macro of `standing_of` and `ambiguous_calls`.
CREATE OR REPLACE MACRO is_unbilled(flags, outcome, status_code) AS
coalesce(list_contains(flags, 'never_sent'), false)
OR (outcome = 'refused' AND (status_code IS NULL OR status_code NOT IN (408, 409)));
