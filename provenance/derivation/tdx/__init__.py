"""Intel TDX: MRTD of the firmware, RTMR0 to RTMR3 of a boot."""
