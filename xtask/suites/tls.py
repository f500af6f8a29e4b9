"""Looks at the TLS of a server: Mozilla's "intermediate" or better. The certificate is our own, so who signed it is not asked."""

import sys

from sslyze import (
    Scanner,
    ScanCommand,
    ServerNetworkLocation,
    ServerScanRequest,
    ServerScanStatusEnum,
)

host, port = sys.argv[1].rsplit(":", 1)
PROTOCOLS = ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", "tls_1_2", "tls_1_3"]
COMMANDS = {ScanCommand(f"{name}_cipher_suites") for name in PROTOCOLS} | {
    ScanCommand.HEARTBLEED,
    ScanCommand.OPENSSL_CCS_INJECTION,
    ScanCommand.ROBOT,
    ScanCommand.SESSION_RENEGOTIATION,
    ScanCommand.TLS_COMPRESSION,
    ScanCommand.TLS_FALLBACK_SCSV,
    ScanCommand.TLS_1_3_EARLY_DATA,
}
# Of Mozilla's guidelines 5.7, without the ones for Diffie-Hellman in finite fields.
INTERMEDIATE = {
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
}

scanner = Scanner()
scanner.queue_scans(
    [ServerScanRequest(ServerNetworkLocation(hostname="localhost", ip_address=host, port=int(port)), scan_commands=COMMANDS)]
)
(result,) = scanner.get_results()
assert result.scan_status == ServerScanStatusEnum.COMPLETED, result.connectivity_error_trace
scan = result.scan_result


def accepted(name):
    suites = getattr(scan, f"{name}_cipher_suites").result.accepted_cipher_suites
    return {suite.cipher_suite.name for suite in suites}


for name in PROTOCOLS[:4]:
    assert not accepted(name), f"{name} is spoken: {accepted(name)}"
assert accepted("tls_1_3"), "TLS 1.3 is not spoken"
weak = (accepted("tls_1_2") | accepted("tls_1_3")) - INTERMEDIATE
assert not weak, f"weaker than intermediate: {weak}"
assert not scan.heartbleed.result.is_vulnerable_to_heartbleed
assert not scan.openssl_ccs_injection.result.is_vulnerable_to_ccs_injection
assert not scan.tls_compression.result.supports_compression
assert not scan.session_renegotiation.result.is_vulnerable_to_client_renegotiation_dos
assert scan.session_renegotiation.result.supports_secure_renegotiation
assert not scan.tls_1_3_early_data.result.supports_early_data
assert scan.robot.result.robot_result.name.startswith("NOT_VULNERABLE"), scan.robot.result.robot_result
print(f"TLS 1.2: {sorted(accepted('tls_1_2'))}")
print(f"TLS 1.3: {sorted(accepted('tls_1_3'))}")
