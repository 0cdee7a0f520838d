// The program, the torch of this machine, then the exact versions that were tested together.
const repository = require("./repository.js")

module.exports = {
  run: [
    {
      // A launcher that was assembled with the program has nothing to clone.
      when: "{{!exists('app/pyproject.toml')}}",
      method: "shell.run",
      params: { message: [`git clone --depth 1 ${repository} app`] },
    },
    { method: "script.start", params: { uri: "torch.js", params: { venv: "env", path: "app" } } },
    {
      method: "shell.run",
      params: { venv: "env", path: "app", message: ["uv pip install -r requirements.txt -c constraints.txt", "uv pip install --no-deps --editable ."] },
    },
    {
      when: "{{gpu === 'nvidia'}}",
      method: "shell.run",
      params: { venv: "env", path: "app", message: ["python scripts/settle_packages.py --cuda"] },
    },
    {
      when: "{{gpu !== 'nvidia'}}",
      method: "shell.run",
      params: { venv: "env", path: "app", message: ["python scripts/settle_packages.py --cpu"] },
    },
    { method: "shell.run", params: { venv: "env", path: "app", message: ["python -m arc2face_app.cli doctor --quick"] } },
  ],
}
