# What the Python programs of the cases begin with.
import os, socket, sys, threading, time

HOST = sys.argv[1]


def say(*words):
    print(*words, flush=True)


def wait():
    sys.stdin.readline()


def outcome(ask):
    began = time.monotonic()
    try:
        answer = ask()
        text = 'answered %.60r' % (answer,)
    except BaseException as error:
        text = '%s: %.80s' % (type(error).__name__, error)
    say('outcome: %s, after %.1f s' % (text, time.monotonic() - began))


def talk(ask):
    """Asks, and once more when it is told to; then lives on until it is told to end."""
    ask()
    say('ready')
    wait()
    outcome(ask)
    wait()


def serve_http(port, keep_alive=True):
    """`/slow/N` is answered after N seconds, `/large` with 64 MiB."""
    import http.server

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'

        def do_GET(self):
            if self.path.startswith('/slow/'):
                time.sleep(float(self.path.split('/')[2]))
            self.send_response(200)
            size = 64 << 20 if self.path == '/large' else 2
            self.send_header('Content-Length', str(size))
            self.end_headers()
            self.wfile.write(b'ok' * (size // 2))

        # Clients repeat a GET by themselves, a POST not.
        do_POST = do_GET

        def log_message(self, *_):
            pass

    http.server.ThreadingHTTPServer((HOST, port), Handler).serve_forever()


def serve_echo(port):
    serve_echo_on(socket.create_server((HOST, port)))


def serve_echo_on(listener):
    def echo(peer):
        while data := peer.recv(4096):
            peer.sendall(data)

    while True:
        threading.Thread(target=echo, args=[listener.accept()[0]], daemon=True).start()
