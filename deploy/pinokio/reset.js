// Packages only: models and pictures took long to get.
module.exports = { run: [{ method: "fs.rm", params: { path: "app/env" } }] }
