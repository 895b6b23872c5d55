

# Added by Ampoule: certificates are those of the host that this runs on, wherever
# it keeps them, and the carried ones only where it has none.
def _host_bundle(paths):
    import os
    if paths.cafile or "SSL_CERT_FILE" in os.environ or "SSL_CERT_DIR" in os.environ:
        return None
    try:
        if paths.capath and os.listdir(paths.capath):
            return None
    except OSError:
        pass
    for bundle in (
        "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
        "/etc/pki/tls/certs/ca-bundle.crt",  # RHEL, Fedora
        "/etc/ssl/ca-bundle.pem",  # SUSE
        os.path.join(sys.base_prefix, "share", "ca-certificates", "ca-bundle.crt"),
    ):
        if os.path.isfile(bundle):
            return bundle
    return None


def _host_verify_paths(self, _native=SSLContext.set_default_verify_paths, _paths=get_default_verify_paths):
    _native(self)
    bundle = _host_bundle(_paths())
    if bundle:
        self.load_verify_locations(cafile=bundle)


def _host_default_verify_paths(_native=get_default_verify_paths):
    """Return paths to default cafile and capath."""
    paths = _native()
    return paths._replace(cafile=_host_bundle(paths) or paths.cafile)


SSLContext.set_default_verify_paths = _host_verify_paths
get_default_verify_paths = _host_default_verify_paths
