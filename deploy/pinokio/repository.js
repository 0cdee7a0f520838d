// Where install.js clones the program from. scripts/assemble.py writes the address here, or puts the program into app/.
module.exports = ""
