vcl 4.1;

backend origin {
    .host = "127.0.0.1";
    .port = "@origin_port@";
    .first_byte_timeout = 30s;
    .between_bytes_timeout = 30s;
}

sub vcl_recv {
    return (hash);
}

sub vcl_backend_response {
    # Lifetimes are the origin's Cache-Control; a playlist past its lifetime is never served.
    set beresp.grace = 0s;
    set beresp.keep = 0s;
}

sub vcl_deliver {
    unset resp.http.Via;
    unset resp.http.X-Varnish;
}
