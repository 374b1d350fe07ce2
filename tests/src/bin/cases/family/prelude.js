// What the Node programs of the cases begin with.
const HOST = process.argv[1];
const said = (...words) => process.stdout.write(words.join(' ') + '\n');
const told = () => new Promise(done => process.stdin.once('data', done));
async function outcome(ask) {
  const began = Date.now();
  let text;
  try {
    text = 'answered ' + String(await ask()).slice(0, 60);
  } catch (error) {
    text = (error.code || error.name) + ': ' + String(error.message).slice(0, 80);
  }
  said(`outcome: ${text}, after ${((Date.now() - began) / 1000).toFixed(1)} s`);
}
// Asks, and once more when it is told to; then lives on until it is told to end.
async function talk(ask) {
  await ask();
  said('ready');
  await told();
  await outcome(ask);
  await told();
  process.exit(0);
}
