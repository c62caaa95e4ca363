-- The throttle also asks how often an account was tried from everywhere.
CREATE INDEX failed_logins_who ON failed_logins (who, at);
