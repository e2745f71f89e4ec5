-- A certificate says what no step takes, for the processors that the tenant's policy has: who draws it up reads which these are.
grant select on safelight.policy_versions, safelight.policy_rules to safelight_sealer;
grant execute on function safelight.policy_in_force to safelight_sealer;
