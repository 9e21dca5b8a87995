// The key that is entered stays in this page, and goes when it is closed.
SwaggerUIBundle({url: "openapi.json", dom_id: "#interface", deepLinking: true, persistAuthorization: false, tryItOutEnabled: true});
