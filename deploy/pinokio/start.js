// The page; Pinokio picks the port. What the page makes is kept in outputs/ beside this file.
module.exports = {
  daemon: true,
  run: [
    {
      method: "shell.run",
      params: {
        venv: "env",
        path: "app",
        message: ["python -m arc2face_app --host 127.0.0.1 --port {{port}} --outputs ../outputs"],
        on: [{ event: "/(http:\\/\\/[0-9.:]+)/", done: true }],
      },
    },
    { method: "local.set", params: { url: "{{input.event[1]}}" } },
  ],
}
