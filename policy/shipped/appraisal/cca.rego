##### Arm CCA
#
#   cca_realm_initial_measurement          RIM of the realm
#   cca_realm_extensible_measurement_0..3  REMs, of those that something extends
#   cca_platform_sw_component              measurement of a piece of the platform's firmware
#   cca_platform_signer_id                 key that signed such a piece
#   cca_platform_config                    the platform's configuration

# 2: genuine and supported: every piece of firmware is known, and signed by a key that is known.
hardware := 2 if {
	input.verification.tee == "cca"
	input.verification.failed == []
	components := input.cca.sw_components
	count(components) > 0
	known := [component |
		component := input.cca.sw_components[_]
		value := component.value
		input.reference.cca_platform_sw_component[value].value == value
		signer := component.signer_id
		input.reference.cca_platform_signer_id[signer].value == signer
	]
	count(known) == count(components)
	count(cca_platform_groups) > 0
}

# The releases of firmware that all pieces and all signers belong to.
cca_platform_groups := intersection(union({cca_component_groups, cca_signer_groups}))

cca_component_groups := {groups |
	component := input.cca.sw_components[_]
	groups := reference_groups("cca_platform_sw_component", component.value)
}

cca_signer_groups := {groups |
	component := input.cca.sw_components[_]
	groups := reference_groups("cca_platform_signer_id", component.signer_id)
}

# 3: only approved executables were loaded when the realm was made, and none that is not approved since.
executables := 3 if {
	input.verification.tee == "cca"
	measurement := input.cca.rim
	input.reference.cca_realm_initial_measurement[measurement].value == measurement
	cca_rem0
	cca_rem1
	cca_rem2
	cca_rem3
}

# A register that nothing extended, or whose value is approved.
cca_rem0 if regex.match(`^0+$`, input.cca.rem0)

cca_rem0 if {
	measurement := input.cca.rem0
	input.reference.cca_realm_extensible_measurement_0[measurement].value == measurement
}

cca_rem1 if regex.match(`^0+$`, input.cca.rem1)

cca_rem1 if {
	measurement := input.cca.rem1
	input.reference.cca_realm_extensible_measurement_1[measurement].value == measurement
}

cca_rem2 if regex.match(`^0+$`, input.cca.rem2)

cca_rem2 if {
	measurement := input.cca.rem2
	input.reference.cca_realm_extensible_measurement_2[measurement].value == measurement
}

cca_rem3 if regex.match(`^0+$`, input.cca.rem3)

cca_rem3 if {
	measurement := input.cca.rem3
	input.reference.cca_realm_extensible_measurement_3[measurement].value == measurement
}

# 2: the approved configuration, of a platform that cannot be debugged.
configuration := 2 if {
	input.verification.tee == "cca"
	input.cca.lifecycle_state == "secured"
	settings := input.cca.config
	input.reference.cca_platform_config[settings].value == settings
	platform_groups := reference_groups("cca_platform_config", settings)
	count(intersection({cca_platform_groups, platform_groups})) > 0
	input.verification.init_data != "unsupported"
	input.verification.failed == []
}

# 2: the realm's memory is in a physical address space of its own, which the platform encrypts.
runtime_opaque := 2 if {
	input.verification.tee == "cca"
	input.cca.lifecycle_state == "secured"
	input.verification.failed == []
}
