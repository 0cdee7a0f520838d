// Shows what will be fetched, its size and licence, and asks before it begins.
module.exports = {
  run: [
    { method: "shell.run", params: { venv: "env", path: "app", message: ["python -m arc2face_app.cli download identity fast pose expression"] } },
  ],
}
