"""Chromium without a screen, told what to do through a pipe (the DevTools protocol), so that no package is needed."""

import base64
import contextlib
import json
import os
import shutil
import subprocess

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FOUND = next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page.

    Attributes:
        complaints: what the console was told, errors, exceptions, and whatever was asked of the network.
    """

    def __init__(self, folder):
        ours, theirs = os.pipe(), os.pipe()  # what it reads, what it writes
        options = "--headless=new --no-sandbox --disable-gpu --remote-debugging-pipe --hide-scrollbars"
        command = f"exec {FOUND} {options} --user-data-dir={folder} 3<&{ours[0]} 4>&{theirs[1]}"
        self.process = subprocess.Popen(
            ["bash", "-c", command], pass_fds=(ours[0], theirs[1]), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        os.close(ours[0])
        os.close(theirs[1])
        self.ask, self.answers = os.fdopen(ours[1], "wb"), os.fdopen(theirs[0], "rb")
        self.count, self.complaints, self.session, self.loaded = 0, [], None, False
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self.session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")

    def __call__(self, method, **parameters):
        """A command of the protocol and its result."""
        self.count += 1
        sent = {"id": self.count, "method": method, "params": parameters}
        self.ask.write(json.dumps(sent | ({"sessionId": self.session} if self.session else {})).encode() + b"\0")
        self.ask.flush()
        while True:
            message = self._read()
            if message.get("id") == self.count:
                assert "error" not in message, message
                return message["result"]

    def _read(self):
        text = bytearray()
        while (byte := self.answers.read(1)) != b"\0":
            assert byte, "the browser is gone"
            text += byte
        message = json.loads(text)
        event, what = message.get("method"), message.get("params", {})
        if event == "Page.loadEventFired":
            self.loaded = True
        elif event == "Network.requestWillBeSent":
            if what["request"]["url"].split(":")[0] not in ("file", "data"):
                self.complaints.append(what["request"]["url"])
        elif event == "Runtime.exceptionThrown" or (event == "Runtime.consoleAPICalled"):
            self.complaints.append(json.dumps(what)[:500])
        elif event == "Log.entryAdded" and what["entry"]["level"] == "error":
            self.complaints.append(what["entry"]["text"])
        return message

    def open(self, path, width=1000, height=900):
        """A file, in a window of a size."""
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.loaded, self.complaints = False, []
        self("Page.navigate", url=path.resolve().as_uri())
        while not self.loaded:
            self._read()

    def run(self, script):
        """The value of a script, as JSON has it."""
        done = self("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def press(self, key, text=""):
        """A key of the keyboard."""
        for kind in ("keyDown", "keyUp"):
            self("Input.dispatchKeyEvent", type=kind, key=key, text=text if kind == "keyDown" else "")

    def mouse(self, kind, x, y, buttons=0):
        """mousePressed, mouseMoved or mouseReleased at a place of the window."""
        button = "left" if buttons or kind == "mouseReleased" else "none"
        self("Input.dispatchMouseEvent", type=kind, x=x, y=y, buttons=buttons, button=button, clickCount=1)

    def picture(self, path):
        """The whole page as PNG."""
        made = self("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        path.write_bytes(base64.b64decode(made["data"]))


@contextlib.contextmanager
def browser(folder):
    """A browser, ended afterwards."""
    started = Browser(folder)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait()
        with contextlib.suppress(BrokenPipeError):
            started.ask.close()
        started.answers.close()
