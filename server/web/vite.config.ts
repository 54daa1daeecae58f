import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig, loadEnv } from "vite";

export default defineConfig(({ mode }) => {
  // The server that `npm run dev` passes requests on to: MEADOWLARK_SERVER of the environment.
  const { MEADOWLARK_SERVER: server = "http://127.0.0.1:10680" } = loadEnv(mode, ".", "MEADOWLARK_");
  return {
    // Relative addresses: behind Home Assistant's ingress the page lies in a folder of another server.
    base: "./",
    plugins: [react(), tailwindcss()],
    build: {
      outDir: "dist",
      target: "es2022",
      // The worklet and all else are files: the page's policy allows no data: or blob: scripts.
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
    },
    server: { proxy: { "/api": { target: server, ws: true }, "/v1": server, "/health": server, "/ready": server } },
  };
});
