// An application as a team would write it: it asks the official Azure SDK,
// unmodified, for a token of the pod's managed identity and prints what it got.
// It knows nothing of podid.
//
//   node token.mjs [--resource https://vault.azure.net] [--client-id ID] [--default]
//
// It prints one JSON object.
import { webcrypto } from "node:crypto";
import { parseArgs } from "node:util";
import { DefaultAzureCredential, ManagedIdentityCredential } from "@azure/identity";

globalThis.crypto ??= webcrypto; // which Node.js 18 has not, and the SDK wants

const { values } = parseArgs({
  options: {
    resource: { type: "string", default: "https://vault.azure.net" },
    "client-id": { type: "string" },
    default: { type: "boolean", default: false },
  },
});
const clientId = values["client-id"];
const credential = values.default
  ? new DefaultAzureCredential({ managedIdentityClientId: clientId })
  : new ManagedIdentityCredential(clientId ? { clientId } : {});
const start = performance.now();
try {
  const token = await credential.getToken(values.resource + "/.default");
  console.log(JSON.stringify({
    access_token: token.token,
    expires_on: new Date(token.expiresOnTimestamp).toISOString(),
    took_ms: Math.round(performance.now() - start),
  }));
} catch (err) {
  console.error(`${err.name}: ${err.message}`);
  process.exitCode = 1;
}
